// Elements made of data. A text becomes a text node and an attribute's value stays a value: nothing is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    } else if (name === "data") {
      for (const [key, text] of Object.entries(value)) node.dataset[key] = text;
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

/** An element: `h("p", { class: "muted" }, "text", other)`. */
export function h(name, properties, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** An element of a drawing. */
export function s(name, properties, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

/** Puts these in place of what a node has. */
export function put(node, ...children) {
  node.replaceChildren();
  return filled(node, {}, children);
}

/** Changes a text only where it differs, so that a selection and a screen reader are left alone. */
export function say(node, text) {
  if (node.textContent !== String(text)) node.textContent = String(text);
}

/** Calls `draw` only when what is drawn has changed. */
export function whenChanged(draw) {
  let known;
  return (value) => {
    const text = JSON.stringify(value);
    if (text === known) return;
    known = text;
    draw(value);
  };
}

/** A sentence of the job: what it puts between backticks is a command or a name. */
export function prose(text) {
  return String(text ?? "").split("`").map((piece, at) => (at % 2 ? h("code", {}, piece) : piece));
}

export function button(label, act, kind = "") {
  return h("button", { type: "button", class: kind, on: { click: act } }, label);
}

/** A short notice at the edge of the window. */
export function toast(text, kind = "good") {
  const note = h("p", { class: `toast ${kind}` }, text);
  document.getElementById("toasts").append(note);
  setTimeout(() => note.remove(), 6000);
}

/** What went wrong, with the remedy that the answer names. */
export function trouble(error) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, prose(error.what ?? error.message ?? error)),
    error.remedy ? h("p", {}, prose(error.remedy)) : null,
  );
}

/** A dialog with a form. `send` gets the values; what it throws is shown, and the dialog stays open. */
export function ask({ title, lead, fields = [], yes = "OK", kind = "primary", send }) {
  return new Promise((done) => {
    const wrong = h("div");
    const inputs = fields.map((field) => {
      const id = `field-${field.name}`;
      const input = h(field.many ? "textarea" : "input", {
        id,
        name: field.name,
        type: field.many ? undefined : field.type ?? "text",
        value: field.many || field.type === "checkbox" ? undefined : field.value ?? "",
        rows: field.many ? 3 : undefined,
        required: field.required,
        autocomplete: field.autocomplete ?? "off",
        spellcheck: "false",
        "aria-describedby": field.help ? `${id}-help` : undefined,
      });
      const help = field.help ? h("small", { id: `${id}-help` }, field.help) : null;
      return field.type === "checkbox"
        ? h("label", { class: "check" }, input, h("span", {}, field.label, help))
        : h("div", { class: "field" }, h("label", { for: id }, field.label), input, help);
    });
    const submit = h("button", { type: "submit", class: kind }, yes);
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      lead ? h("p", { class: "muted" }, lead) : null,
      inputs,
      wrong,
      h("div", { class: "row end" }, button("Back", () => dialog.close(), "quiet"), submit),
    );
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    let result = null;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const values = {};
      for (const field of fields) {
        const input = form.elements.namedItem(field.name);
        values[field.name] = field.type === "checkbox" ? input.checked : input.value.trim();
      }
      submit.disabled = true;
      try {
        result = (await send(values)) ?? true;
        dialog.close();
      } catch (error) {
        put(wrong, trouble(error));
      } finally {
        submit.disabled = false;
      }
    });
    dialog.addEventListener("close", () => {
      dialog.remove();
      done(result);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
