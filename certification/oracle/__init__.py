"""Small independent calculations that say what a correct deployment must answer."""
