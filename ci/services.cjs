// Drives the page of notes in headless Chromium. Arguments: its address, and a folder for a screenshot.
"use strict";
const { chromium } = require("playwright-core");
const assert = require("node:assert");
const path = require("node:path");

const [url, out] = process.argv.slice(2);
const errors = [];

async function open(browser) {
  const page = await browser.newPage();
  page.setDefaultTimeout(20000);
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) errors.push(message.text());
  });
  page.on("pageerror", error => errors.push(String(error)));
  page.on("dialog", dialog => errors.push(`a dialog: ${dialog.message()}`));
  await page.goto(url);
  return page;
}

async function save(page, title, text) {
  await page.locator("#title").fill(title);
  await page.locator("#text").fill(text);
  await page.locator("#save").click();
}

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
      "--disable-background-networking", "--disable-component-update"],
  });
  try {
    const page = await open(browser);
    // What a user types is text.
    const hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>";
    await save(page, hostile, `${hostile}\nsecond line`);
    const note = page.locator("li", { has: page.locator("h2", { hasText: "onerror" }) });
    await note.waitFor();
    assert.equal(await note.locator("h2").textContent(), hostile);
    assert.equal(await note.locator("p").textContent(), `${hostile}\nsecond line`);
    assert.equal(await page.locator("li img, li script").count(), 0);

    // Another window sees it, and changes it.
    const other = await open(browser);
    const seen = other.locator("li", { has: other.locator("h2", { hasText: "onerror" }) });
    await seen.locator("button", { hasText: "Edit" }).click();
    await save(other, "changed", "by the other window");
    await other.locator("li h2", { hasText: "changed" }).waitFor();
    assert.deepEqual(errors, []);

    // The first one has a former version: its change is refused, and nothing is lost.
    await note.locator("button", { hasText: "Edit" }).click();
    await save(page, "lost", "lost");
    await page.locator("#status.error", { hasText: "changed in the meantime" }).waitFor();
    // A browser reports each answer that is an error.
    assert.equal(errors.splice(0).filter(text => !text.includes("409")).length, 0);
    assert.equal(await page.locator("#title").inputValue(), "lost");

    await page.reload();
    const changed = page.locator("li", { has: page.locator("h2", { hasText: "changed" }) });
    await changed.waitFor();
    await page.screenshot({ path: path.join(out, "notes.png"), fullPage: true });
    await changed.locator("button", { hasText: "Delete" }).click();
    await changed.waitFor({ state: "detached" });

    // More than one page of them.
    for (let n = 0; n < 60; n += 1) {
      const body = JSON.stringify({ title: `note ${n}` });
      const answer = await fetch(`${url}notes`, { method: "POST", body, headers: { "content-type": "application/json" } });
      assert.equal(answer.status, 201);
    }
    await page.reload();
    await page.locator("#more").click();
    await page.waitForFunction(() => document.querySelectorAll("li").length >= 60);
    assert.deepEqual(errors, []);
    console.log("notes in Chromium: ok");
  } finally {
    await browser.close();
  }
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
