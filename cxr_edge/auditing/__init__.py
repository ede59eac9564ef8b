"""Problems hidden in a folder of images: unreadable files, copies, mixed-up labels and patients, and shortcuts to the
class.
"""
