package main

import (
	"fmt"
	"sort"
	"sync"
	"syscall"
	"time"
)

const (
	trapCall    = 100 * time.Millisecond
	trapTick    = 10 * time.Millisecond
	trapBefore  = 100 * time.Millisecond
	trapBetween = 500 * time.Millisecond
)

// The blocking-call trap, as in ../src/seeds/trap.rs.
func trap(kind string, count, others, times int) string {
	start := time.Now()
	begin := func(n int) time.Time { return start.Add(trapBefore + time.Duration(n)*trapBetween) }
	counts := func(due time.Time) bool {
		for n := 0; n < times; n++ {
			if !due.Before(begin(n)) && due.Before(begin(n).Add(trapCall)) {
				return true
			}
		}
		return false
	}
	var all sync.WaitGroup
	late := make([][]float64, others)
	for i := 0; i < others; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			due := start.Add(trapTick * time.Duration(i) / time.Duration(others))
			for {
				now := time.Now()
				for ; !due.After(now); due = due.Add(trapTick) {
					if counts(due) {
						late[i] = append(late[i], float64(now.Sub(due).Nanoseconds()))
					}
				}
				if !due.Before(begin(times - 1).Add(trapCall)) {
					return
				}
				time.Sleep(due.Sub(now))
			}
		}(i)
	}
	for i := 0; i < count; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for n := 0; n < times; n++ {
				time.Sleep(time.Until(begin(n)))
				if kind == "wait" {
					rest := syscall.NsecToTimespec(trapCall.Nanoseconds())
					for syscall.Nanosleep(&rest, &rest) == syscall.EINTR {
					}
				} else {
					compute(trapCall)
				}
			}
		}()
	}
	all.Wait()
	var sum []float64
	for _, one := range late {
		sum = append(sum, one...)
	}
	check(len(sum) == others*times*int(trapCall/trapTick), "ticks")
	sort.Float64s(sum)
	return fmt.Sprintf("p50 %f p99 %f max %f", sum[len(sum)/2], sum[len(sum)*99/100], sum[len(sum)-1])
}
