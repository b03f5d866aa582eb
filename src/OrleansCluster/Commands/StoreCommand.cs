using System.CommandLine;
using System.Diagnostics;
using System.Globalization;
using System.IO.Compression;
using OrleansCluster.Hosting;
using OrleansCluster.Storage;

namespace OrleansCluster.Commands;

/// <summary>`orleanscluster store export|import|check`: backup, restore, moving from one store to the other, and a look at what is in one.</summary>
internal static class StoreCommand
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    public static Command Create() => new("store", "Export, import and check the objects of a cluster: backup, restore, and the way from one process to Redis and back.")
    {
        CreateExport(),
        CreateImport(),
        CreateCheck(),
    };

    private static Command CreateExport()
    {
        var place = new Place();
        var output = new Option<string>("--output") { Description = "File to write; '-' is standard output. A name that ends in .gz is compressed.", DefaultValueFactory = _ => "-" };
        var command = new Command("export", "Write all objects, claims, fences and queued work as lines of JSON, while the cluster goes on.") { output };
        place.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RunAsync(async () =>
        {
            await using var store = place.Open(parsed, force: false);
            if (await store.GetConditionAsync(cancellationToken) == StoreCondition.HalfImported)
                throw new StartException($"An import into {store.Description} has not ended: there is nothing whole to export.");
            var summary = await ExportAsync(store, parsed.GetRequiredValue(output), cancellationToken);
            await SayAsync($"Exported {Text(summary)}.");
            return 0;
        }));
        return command;
    }

    private static Command CreateImport()
    {
        var place = new Place();
        var file = new Argument<string>("file") { Description = "File that 'store export' has written, compressed or not; '-' is standard input." };
        var replace = new Option<bool>("--replace") { Description = "Drop what is in the store. Without it, only an empty store is imported into." };
        var force = new Option<bool>("--force") { Description = "Import into a Redis store although silos or API servers use it: their calls fail until it is done." };
        var command = new Command("import", "Fill a store from an export. The file is read and verified as a whole before anything is written.") { file, replace, force };
        place.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RunAsync(async () =>
        {
            await using var store = place.Open(parsed, parsed.GetValue(force));
            var summary = await ImportAsync(store, parsed.GetRequiredValue(file), parsed.GetValue(replace), cancellationToken);
            await SayAsync($"Imported {Text(summary)} into {store.Description}. Revisions go on in a new epoch; clients list anew by themselves.");
            return 0;
        }));
        return command;
    }

    private static Command CreateCheck()
    {
        var place = new Place();
        var command = new Command("check", "Read a store from end to end, tell what is wrong in it, and print what it holds. Exit code 1 if anything is wrong.");
        place.AddTo(command);
        command.SetAction((parsed, cancellationToken) => RunAsync(async () =>
        {
            await using var store = place.Open(parsed, force: false);
            var report = await StoreCheck.RunAsync(store, cancellationToken);
            await Console.Out.WriteAsync(Table(report.Resources));
            foreach (var problem in report.Problems)
                await Console.Error.WriteLineAsync(problem);
            await SayAsync(report.Problems.Count == 0
                ? $"{store.Description}: no problem found."
                : $"{store.Description}: {report.Problems.Count} problems.");
            return report.Problems.Count == 0 ? 0 : 1;
        }));
        return command;
    }

    private static async Task<StoreFileSummary> ExportAsync(IStoreTransfer store, string output, CancellationToken cancellationToken)
    {
        if (output == "-")
        {
            await using var standard = Console.OpenStandardOutput();
            return await StoreFileWriter.WriteAsync(standard, store.ReadAllAsync(null, cancellationToken), null, cancellationToken);
        }
        // Under another name until it is whole, so that what lies under its own name is a backup.
        var partial = output + ".partial";
        try
        {
            StoreFileSummary summary;
            var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, Options = FileOptions.Asynchronous };
            if (!OperatingSystem.IsWindows())
                options.UnixCreateMode = OwnerOnly; // Secrets are in it.
            await using (var file = new FileStream(partial, options))
            {
                var packed = output.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionLevel.Fastest, leaveOpen: true) : null;
                await using (packed) // Its end is written when it is disposed.
                    summary = await StoreFileWriter.WriteAsync((Stream?)packed ?? file, store.ReadAllAsync(null, cancellationToken), Progress("exported"), cancellationToken);
                file.Flush(flushToDisk: true);
            }
            File.Move(partial, output, overwrite: true);
            return summary;
        }
        finally
        {
            File.Delete(partial);
        }
    }

    private static async Task<StoreFileSummary> ImportAsync(IStoreTransfer store, string file, bool replace, CancellationToken cancellationToken)
    {
        await using var source = file == "-" ? await SpoolAsync(cancellationToken) : new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
        StoreFileSummary summary;
        await using (var packed = await UnpackAsync(source, cancellationToken))
            summary = await StoreFileReader.VerifyAsync((Stream?)packed ?? source, cancellationToken);
        await using var unpacked = await UnpackAsync(source, cancellationToken);
        await store.WriteAllAsync(CountedAsync(StoreFileReader.ReadAsync((Stream?)unpacked ?? source, cancellationToken)), replace, cancellationToken);
        return summary;
    }

    private static async IAsyncEnumerable<StoreRecord> CountedAsync(IAsyncEnumerable<StoreRecord> records)
    {
        var progress = Progress("imported");
        long objects = 0;
        await foreach (var record in records)
        {
            if (record is ObjectRecord && ++objects % 1024 == 0)
                progress(objects);
            yield return record;
        }
    }

    // It is read twice, which standard input cannot be.
    private static async Task<FileStream> SpoolAsync(CancellationToken cancellationToken)
    {
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite, Options = FileOptions.DeleteOnClose };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = OwnerOnly;
        var file = new FileStream(Path.Combine(Path.GetTempPath(), Path.GetRandomFileName()), options);
        await using var input = Console.OpenStandardInput();
        await input.CopyToAsync(file, cancellationToken);
        return file;
    }

    // From the file's beginning; null if it is not compressed. By its first bytes rather than its name, which standard input has none of.
    private static async Task<GZipStream?> UnpackAsync(FileStream file, CancellationToken cancellationToken)
    {
        var magic = new byte[2];
        file.Position = 0;
        var read = await file.ReadAtLeastAsync(magic, 2, throwOnEndOfStream: false, cancellationToken);
        file.Position = 0;
        return read == 2 && magic is [0x1F, 0x8B] ? new GZipStream(file, CompressionMode.Decompress, leaveOpen: true) : null;
    }

    private static Action<long> Progress(string done)
    {
        var last = Stopwatch.GetTimestamp();
        return objects =>
        {
            if (Stopwatch.GetElapsedTime(last) < TimeSpan.FromSeconds(2))
                return;
            last = Stopwatch.GetTimestamp();
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{objects:N0} objects {done} ..."));
        };
    }

    private static string Table(IReadOnlyList<ResourceCheck> resources)
    {
        string[] titles = ["RESOURCE", "OBJECTS", "BYTES", "AVERAGE", "LARGEST", "STORED", "PER OBJECT", "CLAIMS", "FENCES", "QUEUED", "LOG", "REVISION", "COMPACTED"];
        List<string[]> rows = [titles];
        foreach (var r in resources)
        {
            rows.Add(
            [
                r.Resource, Number(r.Objects), Number(r.ValueBytes), Each(r.ValueBytes, r.Objects), Number(r.LargestValue), Number(r.StoredBytes), Each(r.StoredBytes, r.Objects),
                Number(r.Claims), Number(r.Fences), Number(r.QueueItems), Number(r.LogEntries), Number(r.Revision), Number(r.Compacted),
            ]);
        }
        var (objects, values, stored) = (resources.Sum(r => r.Objects), resources.Sum(r => r.ValueBytes), resources.Sum(r => r.StoredBytes));
        rows.Add(
        [
            "(all)", Number(objects), Number(values), Each(values, objects), Number(resources.Select(r => r.LargestValue).DefaultIfEmpty().Max()), Number(stored), Each(stored, objects),
            Number(resources.Sum(r => r.Claims)), Number(resources.Sum(r => r.Fences)), Number(resources.Sum(r => r.QueueItems)), Number(resources.Sum(r => r.LogEntries)), "", "",
        ]);
        var widths = Enumerable.Range(0, titles.Length).Select(c => rows.Max(r => r[c].Length)).ToArray();
        return string.Concat(rows.Select(r => string.Join("   ", r.Select((cell, c) => cell.PadRight(widths[c]))).TrimEnd() + Environment.NewLine));

        static string Number(long number) => number.ToString(CultureInfo.InvariantCulture);
        static string Each(long bytes, long count) => count == 0 ? "-" : Number(bytes / count);
    }

    private static string Text(StoreFileSummary summary) => string.Create(
        CultureInfo.InvariantCulture,
        $"{summary.Objects:N0} objects of {summary.Resources} resources, {summary.Fences:N0} fences and {summary.QueueItems:N0} queue items ({summary.Bytes / 1e6:N1} MB of JSON, from {summary.Header.Source} at {summary.Header.Time:yyyy-MM-dd HH:mm:ss}Z)");

    // Standard output belongs to the export.
    private static Task SayAsync(string line) => Console.Error.WriteLineAsync(line);

    private static async Task<int> RunAsync(Func<Task<int>> run)
    {
        try
        {
            return await run();
        }
        catch (OperationCanceledException)
        {
            await SayAsync("Ended before it was done.");
            return 1;
        }
        catch (Exception error) when (error is StoreImportException or InvalidDataException or IOException or UnauthorizedAccessException)
        {
            await SayAsync(error.Message);
            return 1;
        }
        catch (Exception error) when (StartFailure.Explain(error) is { } explanation)
        {
            await SayAsync(explanation);
            return 1;
        }
    }

    /// <summary>Which store: `--data`, or `--redis` and what belongs to it.</summary>
    private sealed class Place
    {
        private readonly Option<DirectoryInfo?> _data = new("--data") { Description = "Data folder of a cluster in one process ('orleanscluster dev --data DIR')." };
        private readonly ClusterAddressOptions _cluster = new(gateways: false, required: false);

        public void AddTo(Command command)
        {
            command.Options.Add(_data);
            _cluster.AddTo(command);
        }

        public IStoreTransfer Open(ParseResult parsed, bool force)
        {
            var data = parsed.GetValue(_data);
            if (_cluster.IsGiven(parsed) == data is not null)
                throw new StartException("Which store? Give either --data DIR or --redis HOST:PORT.");
            if (data is not null)
                return new SqliteTransfer(StoreSetup.EmbeddedPath(data.FullName), TimeProvider.System);
            var options = new RedisStoreOptions();
            StoreSetup.Configure(options, _cluster.Read(parsed));
            return new RedisTransfer(options, TimeProvider.System) { Force = force };
        }
    }
}
