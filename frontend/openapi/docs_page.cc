// The page of GET /docs: no other site's scripts, no frameworks; all text from the server goes in as text.
#include "frontend/openapi/document.h"

namespace echelon {

std::string_view docs_page() {
  return R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Echelon: API</title>
<style>
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; } summary b { display: inline-block; width: 4.2rem; } summary span { opacity: .7; margin-left: .8rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; } td { border-top: 1px solid var(--line); padding: .2rem .6rem .2rem 0; vertical-align: top; }
code, pre, textarea { font: 13px/1.45 ui-monospace, monospace; } pre { background: var(--soft); padding: .6rem; overflow: auto; max-height: 24rem; }
textarea { width: 100%; box-sizing: border-box; } .required::after { content: " *"; color: #c33; }
</style></head><body>
<h1>Echelon</h1><p id="about"></p>
<p><label>Key, where the server asks for one: <input id="key" type="password" autocomplete="off"></label> <button id="load">Load</button></p>
<main id="operations"></main>
<script>
"use strict";
const make = (tag, text, ...children) => { const e = document.createElement(tag); if (text) e.textContent = text; e.append(...children); return e; };
const headers = () => { const key = document.getElementById("key").value; return key ? { Authorization: "Bearer " + key } : {}; };
const kind = shape => {
  if (!shape || !Object.keys(shape).length) return "anything";
  if (shape.$ref) return shape.$ref.split("/").pop();
  if (shape.anyOf) return shape.anyOf.map(kind).join(" | ");
  if (shape.const !== undefined) return JSON.stringify(shape.const);
  if (shape.enum) return shape.enum.filter(v => v !== null).map(v => JSON.stringify(v)).join(" | ");
  const type = [].concat(shape.type).filter(t => t !== "null").join(" | ");
  return type === "array" ? "array of " + kind(shape.items) : type;
};
const range = shape => {
  const least = shape.minimum ?? shape.exclusiveMinimum, parts = [];
  if (least !== undefined) parts.push((shape.exclusiveMinimum !== undefined ? "above " : "from ") + least);
  if (shape.maximum !== undefined) parts.push("to " + shape.maximum);
  if (shape.default !== undefined) parts.push("default " + JSON.stringify(shape.default));
  return parts.join(" ");
};
const members = schema => {
  const table = make("table");
  for (const one of schema.anyOf || [schema]) {
    for (const [name, shape] of Object.entries(one.properties || {})) {
      const cell = make("td", "", make("code", name));
      if ((one.required || []).includes(name)) cell.className = "required";
      table.append(make("tr", "", cell, make("td", kind(shape)), make("td", range(shape))));
    }
  }
  return table;
};
const example = (method, path, schema) => {
  const body = {};
  for (const name of schema.required || []) {
    const shape = schema.properties[name];
    body[name] = name === "messages" ? [{ role: "user", content: "Hello" }] : (shape.enum || ["Hello"])[0];
  }
  if (schema.properties?.max_tokens) body.max_tokens = 32;
  return body;
};
const trial = (method, path, schema) => {
  const input = make("textarea"), output = make("pre"), send = make("button", "Send");
  if (schema) input.value = JSON.stringify(example(method, path, schema), null, 2);
  input.rows = schema ? 8 : 1;
  send.onclick = async () => {
    output.textContent = "...";
    try {
      const options = { method, headers: headers() };
      if (schema) { options.body = input.value; options.headers["Content-Type"] = "application/json"; }
      const answer = await fetch(path, options), text = await answer.text();
      let shown = text;
      try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { }
      output.textContent = answer.status + "\n" + shown;
    } catch (error) { output.textContent = String(error); }
  };
  return make("div", "", ...(schema ? [input] : []), send, output);
};
const load = async () => {
  const about = document.getElementById("about"), main = document.getElementById("operations");
  const answer = await fetch("openapi.json", { headers: headers() });
  const api = await answer.json();
  main.replaceChildren();
  if (!answer.ok) { about.textContent = api.error?.message || answer.status; return; }
  about.textContent = "Version " + api.info.version + ", " + api.info.summary;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const schema = operation.requestBody?.content?.["application/json"]?.schema;
      const heading = make("summary", "", make("b", method.toUpperCase()), make("code", path), make("span", operation.summary));
      const block = make("details", "", heading);
      for (const each of operation.parameters || []) block.append(make("p", each.in + ": " + each.name + ", " + kind(each.schema)));
      if (schema) block.append(members(schema));
      const response = operation.responses["200"].content["application/json"]?.schema;
      if (response) block.append(make("p", "Answers " + kind(response)), make("pre", JSON.stringify(api.components.schemas[kind(response)], null, 1)));
      if (!path.includes("{")) block.append(trial(method.toUpperCase(), path, schema));
      main.append(block);
    }
  }
};
document.getElementById("load").onclick = load;
load();
</script></body></html>
)html";
}

}  // namespace echelon
