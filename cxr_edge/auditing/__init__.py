"""Problems hidden in a folder of images: unreadable files, copies, conflicting labels, mixed-up patients, and shortcuts
to the class.
"""
