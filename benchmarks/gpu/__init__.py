"""A campaign of measurements on one GPU that goes on where its last call stopped."""
