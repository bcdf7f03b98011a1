"""What is made of data sets before a model sees them."""
