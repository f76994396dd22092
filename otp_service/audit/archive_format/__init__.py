"""The format of the archive: entries, seals, segments, Merkle trees and key files."""
