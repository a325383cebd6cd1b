package main

import (
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

func quantiles(line string, nanos []int64) string {
	sort.Slice(nanos, func(a, b int) bool { return nanos[a] < nanos[b] })
	n := len(nanos)
	return fmt.Sprintf("%s p50 %d p99 %d max %d", line, nanos[n/2], nanos[(n*99+99)/100-1], nanos[n-1])
}

func startBeside(s size) string {
	var stop atomic.Bool
	var yielders sync.WaitGroup
	yielders.Add(s.tasks)
	for i := 0; i < s.tasks; i++ {
		go func() {
			for !stop.Load() {
				compute(10 * time.Millisecond)
				runtime.Gosched()
			}
			yielders.Done()
		}()
	}
	nanos := make([]int64, s.ops)
	var started sync.WaitGroup
	started.Add(s.ops)
	m := startMeter()
	for i := 0; i < s.ops; i++ {
		time.Sleep(5 * time.Millisecond)
		i, spawned := i, time.Now()
		go func() {
			nanos[i] = time.Since(spawned).Nanoseconds()
			started.Done()
		}()
	}
	started.Wait()
	line := m.stop(s.ops)
	stop.Store(true)
	yielders.Wait()
	return quantiles(line, nanos)
}

func backlog(s size) string {
	var started atomic.Int64
	var wait sync.WaitGroup
	wait.Add(s.ops)
	most := int64(0)
	m := startMeter()
	for spawned := 1; spawned <= s.ops; spawned++ {
		go func() {
			started.Add(1)
			wait.Done()
		}()
		if spawned%128 == 0 {
			if waiting := int64(spawned) - started.Load(); waiting > most {
				most = waiting
			}
			runtime.Gosched()
		}
	}
	wait.Wait()
	return fmt.Sprintf("%s backlog %d", m.stop(s.ops), most)
}

func besideHog(s size) string {
	const sleep = 100 * time.Millisecond
	nanos := make([]int64, s.tasks)
	var wait sync.WaitGroup
	wait.Add(s.tasks + 1)
	m := startMeter()
	for i := 0; i < s.tasks; i++ {
		i := i
		go func() {
			deadline := time.Now().Add(sleep)
			time.Sleep(sleep)
			nanos[i] = time.Since(deadline).Nanoseconds()
			wait.Done()
		}()
	}
	time.Sleep(sleep / 2)
	go func() {
		compute(1500 * time.Millisecond)
		wait.Done()
	}()
	wait.Wait()
	return quantiles(m.stop(s.tasks), nanos)
}

// How late the goroutines wake that sleep again and again, beside one that computes for 400 ms.
func naps(s size) string {
	const nap, all, before, hog = 10 * time.Millisecond, time.Second, 200 * time.Millisecond, 400 * time.Millisecond
	each := make([][]int64, s.tasks)
	var wait sync.WaitGroup
	wait.Add(s.tasks + 1)
	m := startMeter()
	for i := 0; i < s.tasks; i++ {
		i := i
		go func() {
			for start := time.Now(); time.Since(start) < all; {
				deadline := time.Now().Add(nap)
				time.Sleep(nap)
				each[i] = append(each[i], time.Since(deadline).Nanoseconds())
			}
			wait.Done()
		}()
	}
	time.Sleep(before)
	go func() {
		compute(hog)
		wait.Done()
	}()
	wait.Wait()
	var nanos []int64
	for _, some := range each {
		nanos = append(nanos, some...)
	}
	return quantiles(m.stop(len(nanos)), nanos)
}
