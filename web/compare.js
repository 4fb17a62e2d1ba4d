// The slider of ComfyUI's Compare Images on Compare VAE (Exact), in Nodes 2.0: A the image, B what each VAE made of it.
// ComfyUI fills that widget on its own node only. The classic editor cannot draw it, so there it is hidden, and the
// node shows its images alone. It is no input: nothing of it is sent or saved.

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

const KIND = "IMAGECOMPARE";

const addressOf = (file) => api.apiURL(`/view?${new URLSearchParams(file)}`);

function addSlider(node) {
  const { widget = null } = app.widgets?.[KIND]?.(node, "compare", [KIND, {}], app) ?? {};
  if (!widget) return null; // a ComfyUI that has none
  widget.serialize = false;
  widget.options = { ...widget.options, serialize: false };
  widget.hidden = true; // on the canvas; Nodes 2.0 asks its options
  return widget;
}

app.registerExtension({
  name: "ExactVAE.Compare",
  nodeCreated(node) {
    if (node.constructor.comfyClass !== "ExactVAECompare") return;
    const slider = addSlider(node);
    if (!slider) return;
    const before = node.onExecuted;
    node.onExecuted = function (shown) {
      before?.call(this, shown);
      if (!shown?.b_images) return;
      slider.value = { beforeImages: shown.a_images.map(addressOf), afterImages: shown.b_images.map(addressOf) };
      slider.callback?.(slider.value);
    };
  },
});
