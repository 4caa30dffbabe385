"""Readers of written HTML."""

from html.parser import HTMLParser


class Balanced(HTMLParser):
    VOID = ("meta", "br", "img", "link", "input")

    def __init__(self):
        super().__init__()
        self.open, self.links = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.regions = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.tags.append(tag)
        self.ids += [own["id"]] if "id" in own else []
        self.links += [v for k, v in attributes if k in ("href", "src", "xlink:href")]
        if own.get("class") in ("scroll", "plot"):
            self.regions.append(own)
