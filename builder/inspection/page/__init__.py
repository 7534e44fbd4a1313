"""`mkstage1 report`: one page that shows what an image is made of, how it was built and how it boots."""
