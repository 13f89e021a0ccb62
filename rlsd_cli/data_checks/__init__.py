"""Problems before any training: what makes one unfit, in its reference and in its views."""
