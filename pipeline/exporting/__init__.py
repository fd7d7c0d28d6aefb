"""A trained network in the forms that other systems read. May import `training`."""
