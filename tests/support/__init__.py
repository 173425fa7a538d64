"""What tests of several folders share: synthetic images, folders of them, trainings that are killed."""
