// Drives the page in headless Chromium. Arguments: the folder of the examples, and one for screenshots.
"use strict";
const { chromium } = require("playwright-core");
const assert = require("node:assert");
const { spawn } = require("node:child_process");
const fs = require("node:fs");
const path = require("node:path");

const [examples, out] = process.argv.slice(2);
const children = [];
const errors = [];

// Starts an example that serves the page, and returns the page's address.
function observed(example, ...options) {
  const child = spawn(path.join(examples, example), [...options, "--observe", "127.0.0.1:0"], {
    env: { ...process.env, SWARD_DEADLOCKS: "0", SWARD_CHECK: "0", SWARD_WORKERS: "2" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  children.push(child);
  return new Promise((resolve, reject) => {
    let text = "";
    child.stderr.on("data", data => {
      text += data;
      const url = /observe: (http:\S+)\n/.exec(text);
      if (url) resolve({ url: url[1], says: what => says(child, () => text, what) });
    });
    child.on("exit", code => reject(new Error(`${example} ended with ${code}: ${text}`)));
  });
}

async function says(child, text, what) {
  while (!text().includes(what)) await new Promise(resolve => child.stderr.once("data", resolve));
}

async function open(browser, url, options = {}) {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options });
  page.setDefaultTimeout(20000);
  page.on("console", message => {
    if (["error", "warning"].includes(message.type())) errors.push(`${url}: ${message.text()}`);
  });
  page.on("pageerror", error => errors.push(`${url}: ${error}`));
  await page.goto(url);
  return page;
}

// No scrolling sideways at any width, in both colour schemes.
async function shots(browser, url, name) {
  for (const width of [1280, 400]) {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open(browser, url, { viewport: { width, height: 900 }, colorScheme });
      await page.locator("details.group").first().waitFor();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${name}: ${wide} px too wide at ${width}`);
      await page.screenshot({ path: path.join(out, `${name}-${width}-${colorScheme}.png`), fullPage: true });
      await page.close();
    }
  }
}

async function deadlock(browser) {
  const { url } = await observed("stuck", "deadlock");
  const page = await open(browser, url);
  await page.locator("#alarms .calm").waitFor();
  // It closes three seconds after the start.
  await page.locator(".alarm.deadlock").waitFor();
  const text = await page.locator(".alarm.deadlock").innerText();
  for (const part of ["payer", "auditor", "Mutex::lock", "held by", "examples/stuck.rs:"]) {
    assert.ok(text.includes(part), `no ${part} in ${text}`);
  }
  assert.equal(await page.locator(".alarm.deadlock svg circle").count(), 2);
  assert.ok((await page.title()).startsWith("(1)"));

  // By keyboard: a group opens, stays open over the next updates, and shows its stack.
  const group = page.locator("details.group", { hasText: "payer" });
  await group.locator("summary").focus();
  await page.keyboard.press("Enter");
  await group.locator(".stack li.first").waitFor();
  assert.match(await group.locator(".stack li.first").innerText(), /examples\/stuck\.rs:/);
  const age = await group.locator(".age").innerText();
  await page.waitForFunction(([node, age]) => node.innerText !== age, [await group.locator(".age").elementHandle(), age]);
  assert.ok(await group.evaluate(node => node.open && node.contains(document.activeElement)));

  // The filter.
  await page.keyboard.press("/");
  await page.keyboard.type("auditor");
  await page.waitForFunction(() => document.querySelectorAll("details.group").length === 2);
  await page.keyboard.press("Escape");
  await page.locator("#calls button", { hasText: "sleep" }).click();
  await page.waitForFunction(() => document.querySelectorAll("details.group").length === 1);
  await page.locator("#calls button", { hasText: "sleep" }).click();

  // Paused, nothing changes and nothing is asked for.
  await page.locator("#pause").click();
  let asked = 0;
  page.on("request", () => { asked += 1; });
  await page.waitForTimeout(1500);
  assert.equal(asked, 0);
  assert.equal(await page.locator("#live").innerText(), "paused");

  // The page as a file, with the program's dump.
  const file = path.resolve(out, "page.html"), dump = path.resolve(out, "dump.json");
  fs.writeFileSync(file, await (await fetch(url)).text());
  fs.writeFileSync(dump, await (await fetch(`${url}dump.json`)).text());
  const saved = await open(browser, `file://${file}`);
  await saved.locator("#file").setInputFiles(dump);
  await saved.locator("details.group", { hasText: "payer" }).locator("summary").click();
  await saved.locator("details.group[open] .stack li.first").waitFor();
  assert.match(await saved.locator("details.group[open] dd").first().innerText(), /held by coroutine #\d+ “auditor”/);
  await shots(browser, url, "deadlock");
  await saved.close();
  await page.close();
}

async function stall(browser) {
  const { url } = await observed("stuck", "sleep");
  const page = await open(browser, url);
  await page.locator(".alarm.stall").waitFor();
  const text = await page.locator(".alarm.stall").innerText();
  assert.ok(text.includes("sleeper") && text.includes("examples/stuck.rs:"), text);
  await shots(browser, url, "stall");

  // The program ends, and the page must not ask for it any more.
  await page.close();
}

// A program that always has turns.
async function trace(browser) {
  const { url } = await observed("stuck", "slow");
  const page = await open(browser, url);
  await page.locator("details.group", { hasText: "send" }).waitFor();
  await page.locator("#span").selectOption("seconds=1");
  await page.locator("#record").click();
  await page.locator("#lanes").waitFor();
  assert.match(await page.locator("#recorded").innerText(), /turns? in /);
  await page.locator("#lanes").focus();
  await page.keyboard.press("+");
  // Figures that need two answers.
  await page.locator("#rates .tile").first().waitFor();
  await page.screenshot({ path: path.join(out, "trace-1280.png"), fullPage: true });
  await page.close();
}

async function many(browser) {
  const { url, says } = await observed("spawn_100k");
  await says("are parked");
  // The first summary reads the debug information, which is the program's and not the page's time.
  await (await fetch(`${url}summary.json`)).text();
  await new Promise(resolve => setTimeout(resolve, 1000));
  // Three times, since other processes may slow the first ones down.
  let best = Infinity;
  for (let round = 0; round < 3; round += 1) {
    const began = performance.now();
    const page = await open(browser, url);
    await page.locator("details.group .count", { hasText: "100,000" }).waitFor();
    best = Math.min(best, performance.now() - began);
    await page.close();
    await new Promise(resolve => setTimeout(resolve, 1000));
  }
  console.log(`100,000 coroutines are on the page after ${best.toFixed(0)} ms`);
  assert.ok(best < 2000, `${best} ms`);
  await shots(browser, url, "many");
}

async function main() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
      "--disable-background-networking", "--disable-component-update"],
  });
  try {
    for (const test of [deadlock, stall, trace, many]) {
      await test(browser);
      console.log(`${test.name}: ok`);
      for (const child of children.splice(0)) {
        child.removeAllListeners("exit");
        child.kill();
      }
    }
    assert.deepEqual(errors, []);
  } finally {
    for (const child of children) {
      child.removeAllListeners("exit");
      child.kill();
    }
    await browser.close();
  }
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
