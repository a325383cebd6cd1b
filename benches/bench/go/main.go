// The peer written in Go: the same workloads as in ../src/micro and the same servers as in ../src/net.
//
//	go-bench run NAME TASKS PARTNERS OPS WORKERS
//	go-bench serve SERVICE WORKERS
//	go-bench trap KIND COUNT OTHERS TIMES WORKERS
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}

func check(holds bool, message string) {
	if !holds {
		fail("wrong result: " + message)
	}
}

func number(n int) int {
	value, err := strconv.Atoi(os.Args[n])
	if err != nil {
		fail(err.Error())
	}
	return value
}

type usage struct{ user, kernel, sleeps, preempted float64 }

func usageNow() usage {
	var r syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	nanos := func(t syscall.Timeval) float64 { return float64(t.Nano()) }
	return usage{nanos(r.Utime), nanos(r.Stime), float64(r.Nvcsw), float64(r.Nivcsw)}
}

// Resident memory and page tables in bytes.
func memory() float64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		fail(err.Error())
	}
	defer file.Close()
	sum := 0.0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 1 && (fields[0] == "VmRSS:" || fields[0] == "VmPTE:") {
			kib, _ := strconv.Atoi(fields[1])
			sum += float64(kib) * 1024
		}
	}
	return sum
}

type meter struct {
	start time.Time
	used  usage
}

func startMeter() meter { return meter{time.Now(), usageNow()} }

func (m meter) stop(ops int) string {
	wall := float64(time.Since(m.start).Nanoseconds()) / float64(ops)
	now := usageNow()
	user := (now.user - m.used.user) / float64(ops)
	kernel := (now.kernel - m.used.kernel) / float64(ops)
	return fmt.Sprintf("wall %f user %f kernel %f cpu %f", wall, user, kernel, user+kernel)
}

func main() {
	switch {
	case len(os.Args) == 7 && os.Args[1] == "run":
		runtime.GOMAXPROCS(number(6))
		fmt.Println(run(os.Args[2], size{number(3), number(4), number(5)}))
	case len(os.Args) == 4 && os.Args[1] == "serve":
		runtime.GOMAXPROCS(number(3))
		serve(os.Args[2], number(3))
	case len(os.Args) == 7 && os.Args[1] == "trap":
		runtime.GOMAXPROCS(number(6))
		fmt.Println(trap(os.Args[2], number(3), number(4), number(5)))
	default:
		fail("go-bench run NAME TASKS PARTNERS OPS WORKERS | serve SERVICE WORKERS | trap KIND COUNT OTHERS TIMES WORKERS")
	}
}
