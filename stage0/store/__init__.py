"""The image store and the tree store: images by image ID, and their root file systems ready for pods."""

from stage0.store.images import ImageId, ImageInfo, Remote, Store, aci_manifest
from stage0.store.treestore import TreeId, TreeStore

__all__ = ["ImageId", "ImageInfo", "Remote", "Store", "TreeId", "TreeStore", "aci_manifest"]
