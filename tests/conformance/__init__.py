"""What Twinwrite makes of every shape of HTTP/1.x, on the wire and byte for byte."""
