// The blocking-call trap on Node.js, as in ../src/seeds/trap.rs.
//
//   node trap.js node-sync|node-worker wait|compute COUNT OTHERS TIMES
'use strict';
const { Worker, isMainThread, parentPort } = require('node:worker_threads');
const { performance } = require('node:perf_hooks');

const CALL = 100;
const TICK = 10;
const BEFORE = 100;
const BETWEEN = 500;

// Keeps its thread: `Atomics.wait` stands for what has a name that ends in `Sync`.
function call(kind) {
  if (kind === 'wait') {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, CALL);
  } else {
    const start = performance.now();
    while (performance.now() - start < CALL);
  }
}

if (!isMainThread) {
  parentPort.on('message', (kind) => call(kind));
  parentPort.postMessage('ready');
} else {
  main();
}

async function main() {
  const [variant, kind] = process.argv.slice(2);
  const [count, others, times] = process.argv.slice(4).map(Number);
  const workers = [];
  if (variant === 'node-worker') {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(__filename);
      await new Promise((ready) => worker.once('message', ready));
      workers.push(worker);
    }
  }
  const start = performance.now();
  const begin = (n) => start + BEFORE + n * BETWEEN;
  const counts = (due) => {
    for (let n = 0; n < times; n++) if (due >= begin(n) && due < begin(n) + CALL) return true;
    return false;
  };
  const late = [];
  const ticker = (number) =>
    new Promise((ended) => {
      let due = start + (TICK * number) / others;
      const tick = () => {
        const now = performance.now();
        for (; due <= now; due += TICK) if (counts(due)) late.push(now - due);
        if (due >= begin(times - 1) + CALL) return ended();
        setTimeout(tick, due - now);
      };
      tick();
    });
  const all = [];
  for (let i = 0; i < others; i++) all.push(ticker(i));
  for (let i = 0; i < count; i++) {
    for (let n = 0; n < times; n++) {
      setTimeout(
        () => (variant === 'node-worker' ? workers[i].postMessage(kind) : call(kind)),
        begin(n) - performance.now(),
      );
    }
  }
  await Promise.all(all);
  for (const worker of workers) await worker.terminate();
  // Floating-point sums may put a tick on the other side of a limit.
  if (Math.abs(late.length - (others * times * CALL) / TICK) > others * times) throw new Error(`${late.length} ticks`);
  late.sort((a, b) => a - b);
  const at = (part) => Math.round(late[Math.min(late.length - 1, Math.floor(late.length * part))] * 1e6);
  console.log(`p50 ${at(0.5)} p99 ${at(0.99)} max ${at(1)}`);
}
