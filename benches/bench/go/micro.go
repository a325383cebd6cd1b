package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

type size struct{ tasks, partners, ops int }

func run(name string, s size) string {
	workloads := map[string]func(size) string{
		"spawn": spawn, "yield": yield, "unpark": unpark, "pingpong": pingpong, "channel": channel, "mutex": mutex,
		"rwlock": rwlock, "skynet": skynet, "fib": fibonacci, "timers": timers,
		"token": token, "datagrams": datagrams, "accepts": accepts,
	}
	switch name {
	case "parked":
		return parked(s)
	case "heap":
		return withHeap(s)
	case "sleepers":
		return sleepers(s)
	case "start-beside":
		return startBeside(s)
	case "backlog":
		return backlog(s)
	case "beside-hog":
		return besideHog(s)
	case "naps":
		return naps(s)
	}
	workload, known := workloads[name]
	if !known {
		fail("no such workload: " + name)
	}
	warm := s
	warm.ops = (s.ops + 9) / 10
	workload(warm)
	return workload(s)
}

func spawn(s size) string {
	const batch = 1000
	var sum atomic.Int64
	batches := (s.ops + batch - 1) / batch
	m := startMeter()
	for b := 0; b < batches; b++ {
		var wait sync.WaitGroup
		wait.Add(batch)
		for i := 0; i < batch; i++ {
			n := int64(i)
			go func() {
				sum.Add(n)
				wait.Done()
			}()
		}
		wait.Wait()
	}
	line := m.stop(batches * batch)
	check(sum.Load() == int64(batches*(batch*(batch-1)/2)), "each has run once")
	return line
}

func parked(s size) string { return holding(s, func() any { return nil }) }

// The sizes of the allocations that a goroutine holds, and of one that it drops before it parks.
var held = []int{16, 32, 48, 96, 160, 320, 640, 224}

const dropped = 2048

func withHeap(s size) string {
	return holding(s, func() any {
		runtime.KeepAlive(make([]byte, dropped))
		all := make([][]byte, len(held))
		for i, bytes := range held {
			all[i] = make([]byte, bytes)
		}
		return all
	})
}

func holding(s size, hold func() any) string {
	var count atomic.Int64
	var wait sync.WaitGroup
	gate := make(chan struct{})
	wait.Add(s.ops)
	before := memory()
	m := startMeter()
	for i := 0; i < s.ops; i++ {
		go func() {
			kept := hold()
			count.Add(1)
			<-gate
			runtime.KeepAlive(kept)
			wait.Done()
		}()
	}
	for count.Load() < int64(s.ops) {
		time.Sleep(time.Millisecond)
	}
	bytes := memory() - before
	close(gate)
	wait.Wait()
	return fmt.Sprintf("%s bytes %f", m.stop(s.ops), bytes/float64(s.ops))
}

func yield(s size) string {
	each := (s.ops + s.tasks - 1) / s.tasks
	var done atomic.Int64
	m := startMeter()
	together(s.tasks, func(int) {
		for i := 0; i < each; i++ {
			runtime.Gosched()
		}
		done.Add(int64(each))
	})
	check(done.Load() == int64(each*s.tasks), "each has yielded")
	return m.stop(each * s.tasks)
}

// Runs the goroutines and waits for them.
func together(tasks int, f func(int)) {
	var wait sync.WaitGroup
	wait.Add(tasks)
	for i := 0; i < tasks; i++ {
		i := i
		go func() {
			f(i)
			wait.Done()
		}()
	}
	wait.Wait()
}

// Keeps the processor busy until both partners have started, so that they start on different ones.
func meet(arrived *atomic.Int64) {
	arrived.Add(1)
	for start := time.Now(); arrived.Load() < 2 && time.Since(start) < 50*time.Millisecond; {
	}
}

// Go has no unpark; a channel with room for one token is its idiom.
func unpark(s size) string {
	var arrived, turn atomic.Int64
	tokens := [2]chan struct{}{make(chan struct{}, 1), make(chan struct{}, 1)}
	wake := func(token chan struct{}) {
		select {
		case token <- struct{}{}:
		default:
		}
	}
	var m meter
	together(2, func(me int) {
		if s.partners > 0 {
			meet(&arrived)
		}
		if me == 0 {
			m = startMeter()
		}
		for turn.Load() < int64(s.ops) {
			if turn.Load()%2 != int64(me) {
				<-tokens[me]
				continue
			}
			turn.Add(1)
			wake(tokens[1-me])
		}
	})
	check(turn.Load() >= int64(s.ops), "all turns were taken")
	return m.stop(s.ops)
}

func pingpong(s size) string {
	there, back := make(chan int), make(chan int)
	var arrived atomic.Int64
	var m meter
	together(2, func(me int) {
		if s.partners > 0 {
			meet(&arrived)
		}
		if me == 0 {
			for n := range there {
				back <- n
			}
			return
		}
		m = startMeter()
		for n := 0; n < s.ops; n++ {
			there <- n
			check(<-back == n, "the value comes back")
		}
		close(there)
	})
	return m.stop(s.ops)
}

func timers(s size) string {
	const limit = 30 * time.Second
	there, back := make(chan int, 1), make(chan int, 1)
	receive := func(from chan int) (int, bool) {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case n, open := <-from:
			return n, open
		case <-timer.C:
			return 0, false
		}
	}
	m := startMeter()
	together(2, func(me int) {
		if me == 0 {
			for n, open := receive(there); open; n, open = receive(there) {
				back <- n
			}
			return
		}
		for n := 0; n < s.ops; n++ {
			there <- n
			got, open := receive(back)
			check(open && got == n, "the value comes back")
		}
		close(there)
	})
	return m.stop(s.ops)
}

func channel(s size) string {
	each := (s.ops + s.tasks - 1) / s.tasks
	values := make(chan int, 128)
	var count, sum atomic.Int64
	var receiving sync.WaitGroup
	receiving.Add(s.partners)
	m := startMeter()
	for i := 0; i < s.partners; i++ {
		go func() {
			c, t := 0, 0
			for n := range values {
				c, t = c+1, t+n
			}
			count.Add(int64(c))
			sum.Add(int64(t))
			receiving.Done()
		}()
	}
	together(s.tasks, func(int) {
		for n := 0; n < each; n++ {
			values <- n
		}
	})
	close(values)
	receiving.Wait()
	line := m.stop(each * s.tasks)
	check(count.Load() == int64(each*s.tasks), "each value has come once")
	check(sum.Load() == int64(s.tasks*(each*(each-1)/2)), "the receivers have got what was sent")
	return line
}

func mutex(s size) string {
	each := (s.ops + s.tasks - 1) / s.tasks
	var lock sync.Mutex
	count := 0
	m := startMeter()
	together(s.tasks, func(int) {
		for i := 0; i < each; i++ {
			lock.Lock()
			count++
			lock.Unlock()
		}
	})
	line := m.stop(each * s.tasks)
	check(count == each*s.tasks, "no increment is lost")
	return line
}

func rwlock(s size) string {
	const writes = 10
	each := (s.ops + s.tasks - 1) / s.tasks
	var lock sync.RWMutex
	count := 0
	m := startMeter()
	together(s.tasks, func(int) {
		seen := 0
		for i := 0; i < each; i++ {
			if i%writes == 0 {
				lock.Lock()
				count++
				lock.Unlock()
			} else {
				lock.RLock()
				now := count
				lock.RUnlock()
				check(now >= seen, "the count never falls")
				seen = now
			}
		}
	})
	line := m.stop(each * s.tasks)
	check(count == (each+writes-1)/writes*s.tasks, "no increment is lost")
	return line
}

func node(first, leaves int, up chan int) {
	if leaves == 1 {
		up <- first
		return
	}
	below := leaves / 10
	from := make(chan int)
	for i := 0; i < 10; i++ {
		go node(first+i*below, below, from)
	}
	sum := 0
	for i := 0; i < 10; i++ {
		sum += <-from
	}
	up <- sum
}

func skynet(s size) string {
	leaves := 1
	for leaves*10 <= s.ops {
		leaves *= 10
	}
	up := make(chan int)
	m := startMeter()
	go node(0, leaves, up)
	check(<-up == leaves*(leaves-1)/2, "the sum of the leaves")
	return m.stop(leaves)
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	half := make(chan int, 1)
	go func() { half <- fib(n - 1) }()
	other := fib(n - 2)
	return other + <-half
}

func fibonacci(s size) string {
	n, spawns, before := 1, 0, 0
	for spawns+before < s.ops {
		n, spawns, before = n+1, spawns+before+1, spawns
	}
	a, b := 0, 1
	for i := 0; i < n; i++ {
		a, b = b, a+b
	}
	m := startMeter()
	check(fib(n) == a, "the number")
	return m.stop(spawns)
}

func sleepers(s size) string {
	late := make([]int64, s.ops)
	m := startMeter()
	together(s.ops, func(sleeper int) {
		mixed := uint64(sleeper+1) * 0x9e37_79b9_7f4a_7c15
		duration := time.Duration((mixed^mixed>>32)%1_000_000) * time.Microsecond
		deadline := time.Now().Add(duration)
		time.Sleep(duration)
		late[sleeper] = time.Since(deadline).Nanoseconds()
	})
	line := m.stop(s.ops)
	sort.Slice(late, func(a, b int) bool { return late[a] < late[b] })
	check(late[0] >= 0, "nobody wakes early")
	return fmt.Sprintf("%s late99 %d", line, late[s.ops*99/100])
}
