"""What `softmoe data` does.

listing        finds images to write, with their labels:
folders        in a folder for each class
tables         in CSV and TSV files
examples       what they give: images by split, classes, notes
writing        writes them as TFRecords
make_embedded  the script that made the embedded data set
"""
