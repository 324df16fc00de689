-- Send each request with the token of another user, in the order of a file; the next run continues where this one ends,
-- so that a server which remembers the last thousand tokens never sees one that it remembers.
local tokens = {}
for token in io.lines(os.getenv("BENCH_TOKENS")) do table.insert(tokens, token) end
local file = io.open(os.getenv("BENCH_POSITION"))
local position = file and file:read("*n") or 0
if file then file:close() end
local sent = 0
function request()
  local token = tokens[(position + sent) % #tokens + 1]
  sent = sent + 1
  return wrk.format(nil, nil, {Authorization = "Bearer " .. token})
end
function done(summary)
  local file = io.open(os.getenv("BENCH_POSITION"), "w")
  file:write(position + summary.requests + 100) -- some were sent and not answered
  file:close()
end
