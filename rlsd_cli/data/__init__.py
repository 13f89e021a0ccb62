"""Problems: where they come from and how the student and the teacher see them."""
