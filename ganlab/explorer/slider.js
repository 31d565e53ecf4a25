// The browser's own slider, for JupyterLab, Voila (anywidget) and the static page.
function render({ model, el }) {
  const label = document.createElement("label"), name = document.createElement("span");
  const slider = document.createElement("input"), reading = document.createElement("span");
  slider.type = "range";
  for (const [attribute, trait] of [["min", "low"], ["max", "high"], ["step", "step"]])
    slider.setAttribute(attribute, model.get(trait));
  slider.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys
  name.textContent = model.get("description");
  slider.setAttribute("aria-label", model.get("description"));
  const follow = () => {
    slider.value = model.get("value");
    slider.disabled = model.get("disabled");
    reading.textContent = model.get("value").toFixed(2);
  };
  slider.addEventListener("input", () => {
    model.set("value", Number(slider.value));
    model.save_changes();
  });
  model.on("change:value", follow);
  model.on("change:disabled", follow);
  follow();
  label.append(name, slider, reading);
  el.classList.add("ganlab-slider");
  el.append(label);
}
export default { render };
