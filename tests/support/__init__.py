"""What tests of several rooms share: made pictures, trees of them, crews, trainings that die."""
