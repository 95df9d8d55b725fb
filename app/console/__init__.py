"""The pages that the api shows to browsers."""
