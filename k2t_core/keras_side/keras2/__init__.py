"""Files of Keras 2, as Keras 3 can read and run them."""
