"""The credit laboratory: before training, does a signal blame what went wrong?"""
