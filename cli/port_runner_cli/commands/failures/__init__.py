"""`failures`: show the records in the failure queue, and send them to the function again."""
