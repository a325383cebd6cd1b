package main

import (
	"net"
	"sync/atomic"
	"time"
)

// Starts the goroutines. When it returns all have begun, and most likely wait.
func crowd(tasks int, wait func(int)) {
	var begun atomic.Int64
	for i := 0; i < tasks; i++ {
		i := i
		go func() {
			begun.Add(1)
			wait(i)
		}()
	}
	for begun.Load() < int64(tasks) {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
}

// Each goroutine selects over its own channel and one that all share.
func token(s size) string {
	done := make(chan struct{})
	defer close(done)
	var received atomic.Int64
	own := make([]chan int, s.tasks)
	for i := range own {
		own[i] = make(chan int, 1)
	}
	crowd(s.tasks, func(i int) {
		for {
			select {
			case <-own[i]:
				received.Add(1)
			case <-done:
				return
			}
		}
	})
	m := startMeter()
	for n := 0; n < s.ops; n++ {
		own[n%s.tasks] <- n
	}
	for received.Load() < int64(s.ops) {
		time.Sleep(10 * time.Microsecond)
	}
	return m.stop(s.ops)
}

// A UDP socket with many receivers: each datagram is sent when the one before has been received.
func datagrams(s size) string {
	socket, err := net.ListenPacket("udp4", "127.0.0.1:0")
	check(err == nil, "bound")
	defer socket.Close()
	told := make(chan struct{}, 1)
	crowd(s.tasks, func(int) {
		buf := make([]byte, 8)
		for {
			if _, _, err := socket.ReadFrom(buf); err != nil {
				return
			}
			told <- struct{}{}
		}
	})
	sender, err := net.Dial("udp4", socket.LocalAddr().String())
	check(err == nil, "connected")
	defer sender.Close()
	m := startMeter()
	for n := 0; n < s.ops; n++ {
		_, err := sender.Write([]byte("x"))
		check(err == nil, "sent")
		<-told
	}
	return m.stop(s.ops)
}

// A listener with many acceptors: each connection is made when the one before has been accepted.
func accepts(s size) string {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	check(err == nil, "bound")
	defer listener.Close()
	told := make(chan net.Conn, 1)
	crowd(s.tasks, func(int) {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			told <- connection
		}
	})
	m := startMeter()
	for n := 0; n < s.ops; n++ {
		client, err := net.Dial("tcp4", listener.Addr().String())
		check(err == nil, "connected")
		client.Close()
		(<-told).Close()
	}
	return m.stop(s.ops)
}
