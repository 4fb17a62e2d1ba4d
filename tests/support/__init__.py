"""What several tests share: small networks, headers of real files, nodes to call, a real ComfyUI to talk to."""
