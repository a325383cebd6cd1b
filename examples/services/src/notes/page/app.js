// The page of notes. What users typed goes into the page as text (`textContent`, `value`), never as markup.
"use strict";

const element = id => document.getElementById(id);
const notes = new Map();
let edited = null;
// The last id that was listed; what is older comes behind it.
let last;

function say(text, error = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", error);
}

async function send(method, path, body) {
  const options = { method, headers: {} };
  if (body !== undefined) {
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (!response.ok) throw new Error((await response.text()).trim() || response.statusText);
  return response.status === 204 ? null : response.json();
}

// Runs what a button does, and shows its error.
async function attempt(action) {
  try {
    say("");
    await action();
  } catch (error) {
    say(error.message, true);
  }
}

function button(text, action) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = text;
  node.addEventListener("click", () => attempt(action));
  return node;
}

function show() {
  const list = element("notes");
  list.replaceChildren();
  for (const note of [...notes.values()].sort((a, b) => b.id - a.id)) {
    const item = document.createElement("li");
    item.dataset.id = note.id;
    const title = document.createElement("h2");
    title.textContent = note.title;
    const text = document.createElement("p");
    text.textContent = note.text;
    const remove = async () => {
      await send("DELETE", `/notes/${note.id}`);
      notes.delete(note.id);
      if (edited === note) edit(null);
      show();
    };
    item.append(title, text, button("Edit", () => edit(note)), " ", button("Delete", remove));
    list.append(item);
  }
}

// Fills the form with a note, or empties it.
function edit(note) {
  edited = note;
  element("title").value = note ? note.title : "";
  element("text").value = note ? note.text : "";
  element("cancel").hidden = !note;
  element("title").focus();
}

async function load(before) {
  const listed = await send("GET", before === undefined ? "/notes" : `/notes?before=${before}`);
  for (const note of listed) notes.set(note.id, note);
  // Not the smallest of `notes`: they may all be deleted by now.
  if (listed.length > 0) last = listed[listed.length - 1].id;
  element("more").hidden = listed.length < 50;
  show();
}

element("form").addEventListener("submit", event => {
  event.preventDefault();
  attempt(async () => {
    const content = { title: element("title").value, text: element("text").value };
    const saved = edited
      ? await send("PUT", `/notes/${edited.id}`, { ...content, version: edited.version })
      : await send("POST", "/notes", content);
    notes.set(saved.id, saved);
    edit(null);
    show();
    say("Saved.");
  });
});
element("cancel").addEventListener("click", () => edit(null));
element("more").addEventListener("click", () => attempt(() => load(last)));
attempt(() => load());
