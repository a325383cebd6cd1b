package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
)

var (
	headEnd  = []byte("\r\n\r\n")
	response = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, World!\n")
)

const (
	burners  = 32
	slice    = 5 * time.Millisecond
	hog      = 200 * time.Millisecond
	rest     = 800 * time.Millisecond
	work     = 200 * time.Microsecond
	deadline = 30 * time.Second
)

func serve(service string, workers int) {
	listener, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		fail(err.Error())
	}
	go control()
	if service == "burn" {
		for i := 0; i < burners; i++ {
			go burn()
		}
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	hogs := map[string]int{"hog-1": 1, "hog-4": 4}[service]
	for i := 0; i < hogs; i++ {
		go func() {
			for {
				time.Sleep(rest)
				compute(hog)
			}
		}()
	}
	for number := 0; ; number++ {
		// Go sets TCP_NODELAY itself.
		stream, err := listener.Accept()
		if err != nil {
			fail(err.Error())
		}
		go handle(service, stream, byte(number%workers))
	}
}

func compute(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
	}
}

// Prints the process's use of resources whenever the driver asks, and ends with the driver.
func control() {
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		u := usageNow()
		fmt.Printf("user %f kernel %f sleeps %f preempted %f\n", u.user, u.kernel, u.sleeps, u.preempted)
	}
	os.Exit(0)
}

func burn() {
	for {
		compute(slice)
		runtime.Gosched()
	}
}

func handle(service string, stream net.Conn, group byte) {
	defer stream.Close()
	grouped := false
	buffer := make([]byte, 1024)
	var output []byte
	for {
		if service == "deadline" {
			stream.SetReadDeadline(time.Now().Add(deadline))
		}
		n, err := stream.Read(buffer)
		if err != nil {
			return
		}
		answer := buffer[:n]
		if service == "http" {
			output = output[:0]
			for i := bytes.Count(answer, headEnd); i > 0; i-- {
				output = append(output, response...)
			}
			answer = output
		}
		if service == "skewed" {
			compute(work)
			output = append(output[:0], answer...)
			if !grouped {
				output = append(output, group)
			}
			grouped, answer = true, output
		}
		if _, err := stream.Write(answer); err != nil || service == "once" {
			return
		}
	}
}
