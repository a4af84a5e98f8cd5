"""What answers HTTP; standard library only."""
