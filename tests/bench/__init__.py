"""What the product costs, beside something bare that was measured in the same run, by turns. Nothing is asserted."""
