module sward-bench

go 1.19
