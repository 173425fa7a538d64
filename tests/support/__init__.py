"""What tests of several folders share: synthetic images, folders of them, killed trainings."""
