using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;

namespace OrleansCluster.Tests;

/// <summary>Rules about the project itself, read from its files: which way references point, where versions stand, how large a file may get.</summary>
public sealed partial class ArchitectureTests
{
    /// <summary>Most lines of a source file: one file tells one story.</summary>
    private const int MaxLines = 600;

    /// <summary>What each source project may reference, transitively closed by the compiler; anything not listed here is a new arrow and needs a decision.</summary>
    private static readonly Dictionary<string, string[]> Allowed = new(StringComparer.Ordinal)
    {
        ["OrleansCluster.Api"] = [],
        ["OrleansCluster.Storage"] = ["OrleansCluster.Api"],
        ["OrleansCluster.Abstractions"] = ["OrleansCluster.Api", "OrleansCluster.Storage"],
        ["OrleansCluster.Client"] = ["OrleansCluster.Abstractions"],
        ["OrleansCluster.ControlPlane"] = ["OrleansCluster.Abstractions"],
        ["OrleansCluster.ApiServer"] = ["OrleansCluster.Abstractions"],
        ["OrleansCluster.Kubelet"] = ["OrleansCluster.Abstractions"],
        ["OrleansCluster.Proxy"] = ["OrleansCluster.Abstractions"],
        ["OrleansCluster"] =
        [
            "OrleansCluster.ControlPlane", "OrleansCluster.ApiServer", "OrleansCluster.Kubelet", "OrleansCluster.Proxy", "OrleansCluster.Client",
        ],
        ["OrleansCluster.Testing"] = ["OrleansCluster"],
    };

    /// <summary>Files that were longer when the rule came, with what they may have at most; the list may only get shorter.</summary>
    private static readonly Dictionary<string, int> Longer = new(StringComparer.Ordinal)
    {
        ["src/OrleansCluster.Kubelet/Pods/PodWorker.Operations.cs"] = 750,
    };

    /// <summary>Members of messages that stay in the process on purpose: a receiver elsewhere reads the same from the bytes beside them.</summary>
    private static readonly string[] NotSent = ["ReserveRequest.Requirements", "DecisionRequest.Requirements"];

    private static readonly string Root = FindRoot();

    public static TheoryData<string> SourceProjects => [.. Projects("src").Select(p => Path.GetFileNameWithoutExtension(p)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(SourceProjects))]
    public void References_PointOneWay(string project)
    {
        Assert.True(Allowed.ContainsKey(project), $"{project} is new: say in ArchitectureTests.Allowed what it may reference.");
        var references = XDocument.Load(Path.Combine(Root, "src", project, project + ".csproj"))
            .Descendants("ProjectReference")
            .Select(r => Path.GetFileNameWithoutExtension(r.Attribute("Include")!.Value.Replace('\\', '/')));
        Assert.All(references, r => Assert.Contains(r, Allowed[project]));
    }

    [Fact]
    public void LowerLayers_KnowNoHigherFramework()
    {
        foreach (var (project, words) in (IEnumerable<(string, string[])>)
        [
            ("OrleansCluster.Api", ["Orleans", "AspNetCore"]),
            ("OrleansCluster.Storage", ["Orleans", "AspNetCore"]),
            ("OrleansCluster.ControlPlane", ["AspNetCore", "Docker"]),
            ("OrleansCluster.Proxy", ["Orleans"]),
        ])
        {
            Assert.DoesNotContain(Packages(project), package => words.Any(word => package.Contains(word, StringComparison.Ordinal)));
        }
        Assert.DoesNotContain("Microsoft.Orleans.Server", Packages("OrleansCluster.Client"));
    }

    [Fact]
    public void Versions_StandInOnePlace()
    {
        var versions =
            from file in Projects("src").Concat(Projects("test"))
            from reference in XDocument.Load(file).Descendants("PackageReference")
            where reference.Attribute("Version") is not null || reference.Attribute("VersionOverride") is not null || reference.Element("Version") is not null
            select $"{Path.GetFileName(file)}: {reference.Attribute("Include")?.Value}";
        Assert.Empty(versions);
    }

    [Fact]
    public void Solution_HasEveryProject()
    {
        var solution = File.ReadAllText(Path.Combine(Root, "OrleansCluster.sln")).Replace('\\', '/');
        var missing = Projects("src").Concat(Projects("test")).Select(p => Path.GetRelativePath(Root, p).Replace('\\', '/')).Where(p => !solution.Contains(p, StringComparison.Ordinal));
        Assert.Empty(missing);
    }

    [Theory]
    [MemberData(nameof(SourceProjects))]
    public void SourceProject_HasATestProject(string project) =>
        Assert.True(File.Exists(Path.Combine(Root, "test", project + ".Tests", project + ".Tests.csproj")), $"test/{project}.Tests is missing.");

    [Fact]
    public void SourceFiles_AreNotTooLong()
    {
        var tooLong = SourceFiles()
            .Select(f => (File: Path.GetRelativePath(Root, f).Replace('\\', '/'), Lines: File.ReadLines(f).Count()))
            .Where(f => f.Lines > Longer.GetValueOrDefault(f.File, MaxLines));
        Assert.Empty(tooLong);
    }

    [Fact]
    public void Logic_TakesClockAndChanceAsArguments()
    {
        // Random.Shared for jitter of calls that no test replays is let through; a static clock never is.
        var offenders =
            from file in SourceFiles()
            from line in File.ReadLines(file).Select((text, i) => (Text: text, Number: i + 1))
            where StaticClock().IsMatch(line.Text) && !line.Text.TrimStart().StartsWith("//", StringComparison.Ordinal)
            select $"{Path.GetRelativePath(Root, file)}:{line.Number}: {line.Text.Trim()}";
        Assert.Empty(offenders);
    }

    [Fact]
    public void GrainInterfaces_CarryAliases()
    {
        var offenders =
            from type in typeof(IObjectGrain).Assembly.GetTypes()
            where type.IsInterface && type != typeof(IAddressable) && typeof(IAddressable).IsAssignableFrom(type)
            from name in MissingAliases(type)
            select name;
        Assert.Empty(offenders);
    }

    [Fact]
    public void Messages_CarryAliasAndIds()
    {
        var offenders =
            from type in typeof(IObjectGrain).Assembly.GetTypes()
            where type.GetCustomAttribute<GenerateSerializerAttribute>() is not null
            from problem in MessageProblems(type)
            select problem;
        Assert.Empty(offenders);
    }

    private static IEnumerable<string> MissingAliases(Type grain)
    {
        if (grain.GetCustomAttribute<AliasAttribute>() is null)
            yield return grain.Name;
        var methods = grain.GetMethods();
        foreach (var method in methods.Where(m => m.GetCustomAttribute<AliasAttribute>() is null))
            yield return $"{grain.Name}.{method.Name}";
        foreach (var twice in methods.GroupBy(m => m.GetCustomAttribute<AliasAttribute>()?.Alias).Where(g => g.Key is not null && g.Count() > 1))
            yield return $"{grain.Name}: alias {twice.Key} twice";
    }

    private static IEnumerable<string> MessageProblems(Type message)
    {
        if (message.GetCustomAttribute<AliasAttribute>() is null)
            yield return $"{message.Name} has no [Alias]";
        var ids = new HashSet<uint>();
        foreach (var property in message.GetProperties(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly).Where(p => p.SetMethod is not null))
        {
            if (NotSent.Contains($"{message.Name}.{property.Name}", StringComparer.Ordinal))
                continue;
            if (property.GetCustomAttribute<IdAttribute>() is not { } id)
                yield return $"{message.Name}.{property.Name} has no [Id]";
            else if (!ids.Add(id.Id))
                yield return $"{message.Name}.{property.Name} uses [Id({id.Id})] a second time";
        }
    }

    private static IEnumerable<string> Packages(string project) =>
        XDocument.Load(Path.Combine(Root, "src", project, project + ".csproj")).Descendants("PackageReference").Select(r => r.Attribute("Include")!.Value);

    private static IEnumerable<string> Projects(string folder) =>
        Directory.EnumerateDirectories(Path.Combine(Root, folder)).SelectMany(d => Directory.EnumerateFiles(d, "*.csproj"));

    private static IEnumerable<string> SourceFiles() =>
        Directory.EnumerateFiles(Path.Combine(Root, "src"), "*.cs", SearchOption.AllDirectories)
            .Where(f => !f.Contains($"{Path.DirectorySeparatorChar}obj{Path.DirectorySeparatorChar}", StringComparison.Ordinal)
                && !f.Contains($"{Path.DirectorySeparatorChar}bin{Path.DirectorySeparatorChar}", StringComparison.Ordinal));

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "OrleansCluster.sln")))
            folder = folder.Parent ?? throw new InvalidOperationException("The tests do not run inside the repository.");
        return folder.FullName;
    }

    [GeneratedRegex(@"\b(DateTime|DateTimeOffset)\.(UtcNow|Now|Today)\b|\bEnvironment\.TickCount|\bThread\.Sleep\b", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex StaticClock();
}
