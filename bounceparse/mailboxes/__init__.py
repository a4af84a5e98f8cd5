"""Where messages come from: IMAP folders."""
