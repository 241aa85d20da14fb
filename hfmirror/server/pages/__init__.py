"""The pages for people: HTML made here, readable without a script, by day and by night."""
