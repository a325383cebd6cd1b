// Batches of 1,000 outstanding trivial goroutines, spawned, run and joined: nanoseconds for each.
package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

func batch(sum *atomic.Int64) {
	var wait sync.WaitGroup
	wait.Add(1000)
	for i := 0; i < 1000; i++ {
		go func() {
			sum.Add(1)
			wait.Done()
		}()
	}
	wait.Wait()
}

func main() {
	var sum atomic.Int64
	for i := 0; i < 200; i++ {
		batch(&sum)
	}
	sum.Store(0)
	start := time.Now()
	for time.Since(start) < time.Second {
		batch(&sum)
	}
	fmt.Println(time.Since(start).Nanoseconds() / sum.Load())
}
