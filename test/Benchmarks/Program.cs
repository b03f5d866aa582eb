using System.CommandLine;
using OrleansCluster.Benchmarks;

var names = new Argument<string[]>("NAME") { Description = "Scenarios to run; 'all' for all of them.", Arity = ArgumentArity.ZeroOrMore };
var list = new Option<bool>("--list") { Description = "List the scenarios." };
var json = new Option<FileInfo?>("--json") { Description = "Append one JSON object per figure to this file: scenario, metric, value, unit, parameters." };
var nodes = new Option<int?>("--nodes") { Description = "schedule-plain: number of nodes (default 1000)." };
var pods = new Option<int?>("--pods") { Description = "schedule-plain, api-list, memory: number of pods." };
var seconds = new Option<double>("--seconds") { Description = "Length of one throughput measurement.", DefaultValueFactory = _ => 3 };
var http1 = new Option<bool>("--http1") { Description = "Speak HTTP/1.1 (one connection per caller) instead of HTTP/2." };
var server = new Option<FileInfo?>("--server") { Description = "The orleanscluster.dll to measure (default: the one built with this program)." };
var root = new RootCommand("Benchmarks of OrleansCluster. The server runs in a process of its own; its CPU time and memory are read from the kernel.")
{
    names, list, json, nodes, pods, seconds, http1, server,
};
root.SetAction(async (parsed, cancellationToken) =>
{
    if (parsed.GetValue(list))
    {
        foreach (var scenario in Catalog.All)
            Console.WriteLine($"{scenario.Name,-16} {scenario.Description}");
        return 0;
    }
    var wanted = parsed.GetValue(names) ?? [];
    if (wanted.Length == 0)
    {
        await Console.Error.WriteLineAsync("Name a scenario, or 'all'; --list shows them.");
        return 2;
    }
    var chosen = wanted.Contains("all", StringComparer.Ordinal) ? Catalog.All : [.. wanted.Select(Catalog.Find)];
    await using var report = new Report(parsed.GetValue(json)?.FullName);
    var settings = new BenchmarkSettings
    {
        Nodes = parsed.GetValue(nodes),
        Pods = parsed.GetValue(pods),
        Duration = TimeSpan.FromSeconds(parsed.GetValue(seconds)),
        Http2 = !parsed.GetValue(http1),
        Server = parsed.GetValue(server)?.FullName ?? Path.Combine(AppContext.BaseDirectory, "orleanscluster.dll"),
    };
    foreach (var scenario in chosen)
    {
        report.Begin(scenario);
        await scenario.RunAsync(new BenchmarkContext(settings, report, cancellationToken));
    }
    return 0;
});
return await root.Parse(args).InvokeAsync();
