"""Features that exist already, in the forms that others publish them in, into the store."""
