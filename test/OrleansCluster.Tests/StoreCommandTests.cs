using System.Diagnostics;
using System.Text;
using Microsoft.Extensions.Logging.Abstractions;
using OrleansCluster.Storage;

namespace OrleansCluster.Tests;

/// <summary>`orleanscluster store` as a person types it; what an export and an import promise is tested with the stores.</summary>
public sealed class StoreCommandTests : IDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(120);
    private readonly string _folder = Directory.CreateTempSubdirectory("orleanscluster-store-").FullName;

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    private string Data(string name) => Path.Combine(_folder, name);

    private SqliteObjectStore Open(string name) => SqliteObjectStore.Open(
        new SqliteStoreOptions { Path = Path.Combine(Data(name), "store", "objects.db") }, TimeProvider.System, NullLogger<SqliteObjectStore>.Instance);

    private async Task FillAsync(string name, int pods = 3)
    {
        await using var store = Open(name);
        await store.CommitAsync(
            [.. Enumerable.Range(0, pods).Select(i => new Commit
            {
                Resource = "pods",
                Key = $"default/p{i}",
                ExpectedRevision = 0,
                Value = Encoding.UTF8.GetBytes($$"""{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p{{i}}","namespace":"default"} }"""),
                Queue = new QueueChange("pending-pods", QueueAction.Enqueue),
            })],
            Cancellation);
    }

    [Fact]
    public async Task Export_Import_Check_CarryAStoreFromOneFolderToAnother()
    {
        await FillAsync("a");
        var file = Path.Combine(_folder, "backup.ndjson.gz");
        var (code, output, error) = await RunAsync(null, "store", "export", "--data", Data("a"), "--output", file);
        Assert.Equal((0, ""), (code, output));
        Assert.Contains("Exported 3 objects of 1 resources", error, StringComparison.Ordinal);
        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        Assert.Equal([file], Directory.GetFiles(_folder));

        (code, _, error) = await RunAsync(null, "store", "import", "--data", Data("b"), file);
        Assert.Equal(0, code);
        Assert.Contains("Imported 3 objects", error, StringComparison.Ordinal);
        await using (var store = Open("b"))
        {
            Assert.Equal(3, (await store.GetSnapshotAsync("pods", Cancellation)).Objects.Count);
            Assert.Equal(3, (await store.GetQueueStatisticsAsync("pods", "pending-pods", Cancellation)).Ready);
            // A store in use: exported and checked all the same, not imported into.
            (code, output, _) = await RunAsync(null, "store", "check", "--data", Data("b"));
            Assert.Equal(0, code);
            Assert.Matches(@"(?m)^pods\s+3\s", output);
            (code, output, _) = await RunAsync(null, "store", "export", "--data", Data("b"));
            Assert.Equal(0, code);
            Assert.Equal(10, output.Split('\n').Length);
            (code, _, error) = await RunAsync(null, "store", "import", "--data", Data("b"), "--replace", file);
            Assert.Equal(1, code);
            Assert.Contains("in use by another process", error, StringComparison.Ordinal);
        }

        (code, _, error) = await RunAsync(null, "store", "import", "--data", Data("b"), file);
        Assert.Equal(1, code);
        Assert.Contains("--replace", error, StringComparison.Ordinal);
        (code, _, _) = await RunAsync(output, "store", "import", "--data", Data("b"), "--replace", "-");
        Assert.Equal(0, code);
    }

    [Fact]
    public async Task Import_OfADamagedFile_IsRefusedBeforeAnythingIsWritten()
    {
        await FillAsync("a");
        var (_, export, _) = await RunAsync(null, "store", "export", "--data", Data("a"));
        await FillAsync("b", pods: 1);
        foreach (var (damaged, because) in ((string, string)[])
            [(export[..^20], "is cut"), (export.Replace("p1", "p9", StringComparison.Ordinal), "was altered"), ("apiVersion: v1\n", "no export"), ("", "empty")])
        {
            var (code, _, error) = await RunAsync(damaged, "store", "import", "--data", Data("b"), "--replace", "-");
            Assert.Equal(1, code);
            Assert.Contains(because, error, StringComparison.Ordinal);
            Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        }
        await using var store = Open("b");
        Assert.Single((await store.GetSnapshotAsync("pods", Cancellation)).Objects);
    }

    [Fact]
    public async Task Check_OfADamagedStore_ExitsWithOneAndSaysWhatIsWrong()
    {
        await using (var store = Open("a"))
        {
            await store.CommitAsync(
                [new Commit { Resource = "pods", Key = "default/a", ExpectedRevision = 0, Value = "{\"kind\":\"Pod\",\"metadata\":{\"name\":\"b\",\"namespace\":\"default\"}}"u8.ToArray() }],
                Cancellation);
        }
        var (code, _, error) = await RunAsync(null, "store", "check", "--data", Data("a"));
        Assert.Equal(1, code);
        Assert.Contains("pods 'default/a': its value says that it is 'default/b'.", error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Give either --data DIR or --redis HOST:PORT", "store", "export")]
    [InlineData("Give either --data DIR or --redis HOST:PORT", "store", "check", "--data", "x", "--redis", "127.0.0.1:1")]
    [InlineData("There is no database", "store", "export", "--data", "no-such-folder")]
    [InlineData("does not answer", "store", "check", "--redis", "127.0.0.1:1,connectTimeout=200")]
    [InlineData("no-such-file", "store", "import", "--data", "x", "no-such-file")]
    [InlineData("file", "store", "import", "--data", "x")]
    public async Task WhatCannotBe_ExitsWithOneAndSaysWhy(string expected, params string[] arguments)
    {
        var (code, output, error) = await RunAsync(null, arguments);
        Assert.Equal(1, code);
        Assert.Contains(expected, output + error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", output + error, StringComparison.Ordinal);
    }

    private async Task<(int Code, string Output, string Error)> RunAsync(string? input, params string[] arguments)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet")
        {
            UseShellExecute = false,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = _folder,
            Environment = { ["NO_COLOR"] = "1" },
        };
        start.ArgumentList.Add(typeof(Commands.StartException).Assembly.Location);
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);
        using var process = Process.Start(start)!;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Cancellation);
        limit.CancelAfter(Limit);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(limit.Token);
            var error = process.StandardError.ReadToEndAsync(limit.Token);
            if (input is not null)
                await process.StandardInput.WriteAsync(input.AsMemory(), limit.Token);
            process.StandardInput.Close();
            await process.WaitForExitAsync(limit.Token);
            return (process.ExitCode, await output, await error);
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
    }
}
