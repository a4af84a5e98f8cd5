"""Events to the endpoints of others: signed, in order for each address, again until they are taken."""
