"""What a folder of images hides: unreadable files, copies, mixed-up labels and patients, and shortcuts to the class."""
