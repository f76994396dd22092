"""The commit script on a real server and its model, which get the same calls and must agree."""
