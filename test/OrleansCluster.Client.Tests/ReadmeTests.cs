using System.Runtime.CompilerServices;
using k8s.Models;
using OrleansCluster.Testing;

namespace OrleansCluster.Client.Tests;

/// <summary>The README's example, compiled and run, and compared with the README.</summary>
public sealed class ReadmeTests
{
    [Fact]
    public async Task Example_IsTheReadmesAndWorks()
    {
        await using var test = await TestCluster.StartAsync(cancellationToken: TestContext.Current.CancellationToken);
        await RunAsync(test.DataDirectory).WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        var readme = await File.ReadAllTextAsync(PathOf("../../src/OrleansCluster.Client/README.md"), TestContext.Current.CancellationToken);
        var shown = readme.Split("```csharp\n")[1].Split("```")[0];
        var source = await File.ReadAllTextAsync(PathOf("ReadmeTests.cs"), TestContext.Current.CancellationToken);
        var compiled = source.Split("        // <readme>\n")[1].Split("        // </readme>")[0];
        Assert.Equal(Lines(shown).SkipWhile(l => l.StartsWith("using ", StringComparison.Ordinal)), Lines(compiled));
    }

    private static async Task RunAsync(string dataDirectory)
    {
        // <readme>
        // A cluster that `orleanscluster dev` runs on this machine; elsewhere fill in gateways and certificates yourself.
        await using var cluster = await ClusterClient.ConnectAsync(ClusterClientOptions.FromDataDirectory(dataDirectory));

        await cluster.CreateAsync(new V1Pod
        {
            Metadata = new V1ObjectMeta { Name = "hello", NamespaceProperty = "default" },
            Spec = new V1PodSpec { Containers = [new V1Container { Name = "web", Image = "hello:1" }] },
        });

        // All pods that match now, then every change. It survives silos that die, and ends only when told to.
        await foreach (var change in cluster.WatchAsync<V1Pod>(new ObjectQuery { Namespace = "default" }))
        {
            Console.WriteLine($"{change.Type} {change.Object.Metadata.Name} {change.Object.Status?.Phase}");
            if (change.Object.Status?.Phase == "Running")
                break;
        }

        var trace = await cluster.GetSchedulingTraceAsync((await cluster.GetAsync<V1Pod>("hello", "default"))!.Metadata.Uid);
        Console.WriteLine($"Why it runs where it runs: {trace}");
        // </readme>
    }

    private static IEnumerable<string> Lines(string text) => text.Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0);

    private static string PathOf(string relative, [CallerFilePath] string here = "") => Path.Combine(Path.GetDirectoryName(here)!, relative);
}
