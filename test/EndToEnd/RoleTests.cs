using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>Every role as a process of its own, on a Redis of the test: what an operator sees of them, and one trace through all.</summary>
public sealed class RoleTests
{
    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Every_role_tells_its_health_and_metrics_and_a_pods_trace_goes_through_all_of_them()
    {
        int[] ports = FreePorts(11);
        await using var collector = new TraceReceiver(ports[0]);
        string data = Directory.CreateTempSubdirectory("orleanscluster-roles-").FullName;
        string[] cluster = ["--data", data, "--redis", $"127.0.0.1:{ports[1]}", "--cluster-id", $"roles-{ports[1]}"];
        var roles = new Roles(collector.Endpoint);
        try
        {
            (await Command.RunAsync(Repository.Executable, ["pki", "init", "--data", data], cancellation: Cancellation)).OrFail();
            roles.Start("redis", "redis-server", ["--port", $"{ports[1]}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", data]);
            await Eventually.TrueAsync("Redis answers", async _ => (await Command.RunAsync("redis-cli", ["-p", $"{ports[1]}", "ping"])).Output.StartsWith("PONG", StringComparison.Ordinal));
            roles.Start("silo", Repository.Executable, ["silo", .. cluster, "--silo-port", $"{ports[2]}", "--gateway-port", $"{ports[3]}", "--health-port", $"{ports[4]}"]);
            roles.Start("api", Repository.Executable, ["apiserver", .. cluster, "--port", $"{ports[5]}", "--health-port", $"{ports[6]}"]);
            roles.Start("node", Repository.Executable, ["kubelet", .. cluster, "--name", "node-1", "--runtime", "hollow", "--port", $"{ports[7]}", "--health-port", $"{ports[8]}"]);
            roles.Start("proxy", Repository.Executable, ["proxy", .. cluster, "--mode", "UserSpace", "--remove-on-stop", "--health-port", $"{ports[9]}"]);
            (string Role, int Port, string[] Checks, string[] Metrics)[] expected =
            [
                ("silo", ports[4], ["membership", "silo-store", "scheduler", "controllers"], ["orleanscluster_silos", "scheduler_pending_pods", "orleans_grains"]),
                ("api", ports[6], ["store", "caches", "silo", "bootstrap"], ["apiserver_request_total", "apiserver_storage_objects", "orleanscluster_cache_bytes"]),
                ("node", ports[8], ["engine", "pod-workers", "control-plane"], ["kubelet_running_pods", "orleanscluster_kubelet_nodes"]),
                ("proxy", ports[9], ["service-rules", "service-feed"], ["kubeproxy_sync_proxy_rules_duration_seconds", "process_cpu_seconds_total"]),
            ];
            using var http = new HttpClient();
            foreach ((string role, int port, string[] checks, _) in expected)
            {
                string text = await Eventually.GetAsync(
                    $"{role} is ready",
                    async cancellation =>
                    {
                        roles.MustRun();
                        using HttpResponseMessage answer = await http.GetAsync(new Uri($"http://127.0.0.1:{port}/readyz?verbose"), cancellation);
                        return $"{(int)answer.StatusCode} {await answer.Content.ReadAsStringAsync(cancellation)}";
                    },
                    // What is only told ([!]) belongs to a role that is well, too.
                    answer => answer.StartsWith("200", StringComparison.Ordinal) && checks.All(check => answer.Contains($"[+]{check} ok\n", StringComparison.Ordinal)));
                Assert.EndsWith("readyz check passed\n", text, StringComparison.Ordinal);
                Assert.Equal("ok", await http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/livez"), Cancellation));
                using HttpResponseMessage missing = await http.GetAsync(new Uri($"http://127.0.0.1:{port}/readyz/{checks[0]}"), Cancellation);
                Assert.Equal(HttpStatusCode.OK, missing.StatusCode);
            }

            var kubectl = new Kubectl(Path.Combine(data, "kubeconfig"), Path.Combine(data, "kubectl-cache"));
            await kubectl.RunAsync("run traced --image=nothing --restart=Never");
            await Eventually.TrueAsync("the pod runs", async _ => (await kubectl.RunAsync("get pod traced -o jsonpath={.status.phase}")) == "Running");
            // Spans are sent when they end, each process in its own time.
            (string Service, string Name)[] hops =
            [
                ("api", "create pods"), ("silo", "store commit"), ("silo", "schedule pod"), ("silo", "filter and score"), ("silo", "push pod"),
                ("node", "start pod"), ("node", "run_podsandbox"), ("node", "start_container"),
            ];
            Span[] trace = await Eventually.GetAsync(
                "one trace goes through all processes and every span of it has its parent there",
                _ => Task.FromResult(PodTrace(collector.Spans)),
                spans => hops.All(hop => spans.Any(span => (span.Service, span.Name) == hop))
                    && spans.All(span => span.Parent.Length == 0 || spans.Any(other => other.Id == span.Parent)));
            Assert.Equal("create pods", Assert.Single(trace, static span => span.Parent.Length == 0).Name);
            // Probes and scrapes begin no trace, at no role.
            Assert.DoesNotContain(collector.Spans, static span => span.Name.Contains("HttpRequestIn", StringComparison.Ordinal));

            foreach ((string role, int port, _, string[] metrics) in expected)
            {
                string text = await http.GetStringAsync(new Uri($"http://127.0.0.1:{port}/metrics"), Cancellation);
                Assert.All(metrics, name => Assert.True(text.Contains($"# TYPE {name} ", StringComparison.Ordinal), $"{role} tells no {name}"));
            }
        }
        catch (Exception error)
        {
            throw new InvalidOperationException($"{error.Message}\n{roles.Logs()}", error);
        }
        finally
        {
            await roles.StopAsync();
            Directory.Delete(data, recursive: true);
        }
    }

    /// <summary>The trace in which a node told of the pod's start; nothing as long as there is none.</summary>
    private static Span[] PodTrace(IReadOnlyList<Span> spans) =>
        spans.FirstOrDefault(static span => span is { Service: "node", Name: "start pod" }) is { } start ? [.. spans.Where(span => span.Trace == start.Trace)] : [];

    /// <summary>Ports that are free now, no two alike.</summary>
    private static int[] FreePorts(int count)
    {
        TcpListener[] listeners = [.. Enumerable.Range(0, count).Select(static _ => new TcpListener(IPAddress.Loopback, 0))];
        foreach (TcpListener listener in listeners)
            listener.Start();
        int[] ports = [.. listeners.Select(static listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
        foreach (TcpListener listener in listeners)
            listener.Dispose();
        return ports;
    }

    /// <summary>The processes of the test; the last to be started is the first to end.</summary>
    private sealed class Roles(string collector)
    {
        private readonly List<(string Name, Process Process, Task Reading)> _all = [];
        private readonly ConcurrentQueue<string> _log = new();

        public void Start(string name, string program, IEnumerable<string> arguments)
        {
            Process process = Command.Start(program, arguments, new Dictionary<string, string>
            {
                ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector,
                ["OTEL_EXPORTER_OTLP_PROTOCOL"] = "http/protobuf",
                ["OTEL_SERVICE_NAME"] = name,
                ["OTEL_BSP_SCHEDULE_DELAY"] = "200",
            });
            process.StandardInput.Close();
            _all.Add((name, process, Task.WhenAll(CollectAsync(name, process.StandardOutput), CollectAsync(name, process.StandardError))));
        }

        public void MustRun()
        {
            foreach ((string name, Process process, _) in _all)
            {
                if (process.HasExited)
                    throw new GiveUpException($"{name} has ended with exit code {process.ExitCode}.");
            }
        }

        public string Logs() => string.Join('\n', _log.TakeLast(80));

        public async Task StopAsync()
        {
            foreach ((_, Process process, Task reading) in Enumerable.Reverse(_all))
            {
                if (!process.HasExited)
                {
                    await Command.RunAsync("kill", ["-TERM", $"{process.Id}"]);
                    using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
                    await process.WaitForExitAsync(limit.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                    if (!process.HasExited)
                        process.Kill();
                }

                await process.WaitForExitAsync(CancellationToken.None);
                await reading;
                process.Dispose();
            }
        }

        private async Task CollectAsync(string name, StreamReader from)
        {
            while (await from.ReadLineAsync(CancellationToken.None) is { } line)
                _log.Enqueue($"{name}: {line}");
        }
    }
}
