"""The bodies of the audio tower, one file each; the contract that they fulfil is in `body`."""
